-- An old CRM on MariaDB, which knows customers by their member number.
CREATE DATABASE crm CHARACTER SET utf8mb4;
USE crm;
CREATE TABLE crm.contact (id INT PRIMARY KEY, member_no VARCHAR(40) NOT NULL, nickname VARCHAR(40), KEY (member_no));
CREATE TABLE crm.visit (id INT PRIMARY KEY, contact INT, memo TEXT, fee INT,
  CONSTRAINT visit_of FOREIGN KEY (contact) REFERENCES crm.contact (id));
INSERT INTO crm.contact SELECT seq, CONCAT('TM-', LPAD(seq, 7, '0')), CONCAT('お客様', seq) FROM seq_1_to_100;
INSERT INTO crm.visit SELECT seq, 1 + seq % 100, CONCAT('窓口でのご相談 ', seq), 500 FROM seq_1_to_300;
CREATE USER 'erasured'@'127.0.0.1';
GRANT SHOW DATABASES ON *.* TO 'erasured'@'127.0.0.1';
GRANT SELECT, TRIGGER ON crm.* TO 'erasured'@'127.0.0.1';
GRANT UPDATE, DELETE ON crm.contact TO 'erasured'@'127.0.0.1';
GRANT UPDATE, DELETE ON crm.visit TO 'erasured'@'127.0.0.1';
